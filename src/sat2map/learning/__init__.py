"""Learning from labelled ground: patches, losses, steps, epochs, and the model that comes of it.

In the order of a training: `fitting` plans and starts it, `samples` and `augment` make patches, `objectives` improves
the network, `pacing` sets the speed, `validation` judges, `trainer` loops, `journal` tells, `packing` makes the
model and `remembering` what it knows of its ground.
"""
