"""The status page, its JSON, the metrics and the previews, over HTTP/1.1; no picture gets here but previews of anonymized streams.

sockets -> Server -> Conversation (limits, h11) -> Site (routes) -> Gate (token, host), health, metrics, PreviewDesk
"""
