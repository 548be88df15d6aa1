"""What the tests of the networks share."""

from __future__ import annotations

import torch

# The networks of these tests are too small to share out: more threads would only wait for each other.
torch.set_num_threads(1)
