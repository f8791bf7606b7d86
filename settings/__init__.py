"""Environment variables to checked settings and the server's argument list.

In: the environment, the flag snapshot of the SGLang at hand, what lies on this machine's disks. Out: `Settings`,
or ConfigError with every problem at once. Pure but for model_source, hub_cache and gpus, which look at files and
devices. May import: utils.
"""
