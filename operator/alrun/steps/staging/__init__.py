"""What our own containers do in the pod of a foreign program (TAO, or a trainer of the user's).

`stage-in` brings images, labels, specs and models into the folder that the pod's containers share, `watch` tells
while the program works how far it is, and `stage-out` judges what it left and brings that to the workspace. The
program knows none of the workspace's conventions, and nothing of it is changed.
"""
