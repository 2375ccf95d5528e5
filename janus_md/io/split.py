"""Random parts of a list of frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from janus_md.errors import UserError


def split_shares(count: int, shares: Sequence[float], seed: int | Sequence[int]) -> list[list[int]]:
    """Indices 0 … count−1 in parts of the given shares, each part in ascending order.

    Every index is in one part. A part with a share is not empty where ``count`` allows.
    Raises ``UserError`` where the shares are not positive or do not add up to 1.
    """
    if min(shares) <= 0 or abs(sum(shares) - 1.0) > 1e-6:
        raise UserError(f"the shares {list(shares)} must be positive and add up to 1; correct them")
    if count < len(shares):
        raise UserError(
            f"{count} frames cannot be split into {len(shares)} parts; give more frames"
        )
    order = np.random.default_rng(seed).permutation(count)
    ends = np.rint(np.cumsum(shares) * count).astype(int)
    # Push the borders apart by one frame where a small share would round to nothing.
    for place in range(len(ends)):
        ends[place] = max(ends[place], (ends[place - 1] if place else 0) + 1)
    for place in range(len(ends) - 1, -1, -1):
        ends[place] = min(ends[place], count - (len(ends) - 1 - place))
    return [sorted(part.tolist()) for part in np.split(order, ends[:-1])]
