"""Packed copies of weights: fewer bytes to read from a slow volume, unpacked into memory while the server imports.

In: the files that the server will load, a folder of copies. Out: the same bytes, handed to the server file by file.
May import: utils, and start.weights.page_reader. Codec, copies and unpacker need nothing but the standard library.
"""
