"""Exported programs, `net.pt2`, read by a loader of our own.

`torch.export.load` unpickles sample inputs and evaluates symbolic expressions of a file, so it is never called here.
The archive is a zip of JSON and raw tensors: these are read as data, and the graph's operators, all on a written list,
are run by a module of ours, which is then captured like any other.
"""
