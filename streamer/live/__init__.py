"""Live streams: any number of cameras, an anonymized stream of each, without anybody looking after them.

camera -> LiveSource -> detector (x N, shared) -> LiveAnonymizer -> LiveSink -> Publisher (one for each output)
             ^                                                        |
         reconnects                                        slate, preview; encodes once
"""
