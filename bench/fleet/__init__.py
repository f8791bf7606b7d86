"""A fleet of workers behind RunPod's queue, simulated: what a setting of the endpoint does to waits and to the bill.

In: measured curves and starts (measured.json), a pattern of arrivals, settings of an endpoint. Out: waits, GPU seconds,
cost; as data, tables and plots. `python -m bench.fleet` is the command.

curves, traffic, scalers, theory and figures are pure; worker and endpoint run on simpy's clock; check_worker alone
starts real processes. What is simulated, and what is not, stands in docs/operations.md.
"""
