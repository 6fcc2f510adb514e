"""What stands in for LightlyOne: its API, and the Worker that polls it.

Both speak the REST calls of client 1.5.26 with its bodies, status codes and validation, so that the real client is used
unchanged, with LIGHTLY_SERVER_LOCATION. The Worker really reads the stores, the predictions and the metadata, and really
selects with lightly-mundig. Nothing here imports alrun: a stand-in is independent of what it tests.
"""
