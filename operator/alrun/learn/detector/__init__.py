"""The embedded detector: a small centre-point network, trained from scratch.

An object is found as a peak of its class's heat map at the centre of its box; from that cell the network tells the
distances to the four sides (Zhou, Wang and Krähenbühl, "Objects as Points", 2019; the four distances are those of
Tian et al., "FCOS", 2019). 765,000 weights, no pretrained ones, no anchors to tune: it learns from a few dozen
images in a minute on two cores.
"""

from alrun.learn.runtime import configure

configure()  # before any module of this package imports JAX
