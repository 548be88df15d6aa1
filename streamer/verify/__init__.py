"""Proves from two files alone that the second no longer shows the faces of the first.

footage (both files, frame by frame) -> a detector of its own over the original -> examination of each face found there:
exposure (is the original still in that place?), tracks (for how long?), flicker, identity -> proof (JSON, summary, page)
"""
