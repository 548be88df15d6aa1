"""Live streams for tests: a camera, a server and a viewer, each a real process that can be frozen and killed.

    Camera -> RtspServer -> what is tested -> RtspServer -> Viewer

The camera writes a clock into its pictures and beeps at full seconds of its footage, so that the viewer knows how old each picture
is, which camera it is of, and how far sound and pictures lie apart.
"""
