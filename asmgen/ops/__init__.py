"""The ops of a graph, one file each: all that is true of an op on every target.

An op knows its shapes, its parameters, its value in NumPy float64, the rule of its gradient and its PyTorch module. A
`Layer` is an op that a model file lists.
"""
