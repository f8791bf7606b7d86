"""Compiled kernels kept from one worker to the next: what they depend on, their archive, their cache.

In: the server's compile folders and the facts they depend on. Out: archives on a volume or in the image.
May import: settings, utils.
"""
