"""What `select` reads, and how it becomes what the rules of `alrun.learn.selection` compute with.

Everything is read through a recorder, so that a selection can be made again and proved to be the same.
"""
