"""Which images are worth a label: scores of single images, and rules that pick a batch.

A rule is a generator: it looks at a `Pool`, and yields one `Pick` after another until the caller has enough or
no image is open any more. It never sees pixels, labels of unlabelled images, or the sealed test set.
"""
