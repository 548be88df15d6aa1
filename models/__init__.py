"""Faces and networks: arrays in, arrays out.

    picture -> detectors.py -> Faces -> keypoints.py -> Faces with keypoints

No process, no socket, no configuration file and no video container is known here, so that serving (`streamer`) and training
(`trainer`) share one definition of every box, crop and network.
"""
