"""Features learned from a pool of images without a label: SimCLR on the detector's backbone.

Two variations of each image of a batch are to be told from those of all the others (Chen, Kornblith, Norouzi and
Hinton, "A Simple Framework for Contrastive Learning of Visual Representations", 2020). What is the same in both, and
differs between images, is what the network learns to see. No weights are downloaded: it begins from scratch, as the
detector does.
"""

from alrun.learn.runtime import configure

configure()  # before any module of this package imports JAX
