"""The way of a frame through the processes of Veil.

    input -> source -> detector (x N) -> anonymizer -> sink -> output

Pixels lie in rings of shared memory, facts travel as the messages of `messages.py`; `pipeline.py` is the table of the processes.
"""
