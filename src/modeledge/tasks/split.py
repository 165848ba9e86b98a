"""Setting rows aside: by lot, class by class, and never one of two equal rows alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from modeledge.seed import Noise


def set_aside(
    keys: Sequence[Hashable], classes: Sequence[Hashable], share: float, noise: Noise
) -> tuple[list[int], list[int]]:
    """The numbers of the rows that stay and of those that are set aside, each in rising order.

    Rows with equal `keys` go together. Of each class (that of a group's first row) about `share` is set aside, in an
    order by lot; one group of each class stays. Classes too small for one row of their own give the share together, one
    row of every few of them. Where that sets nothing aside, one group of the largest class goes.
    """
    groups = defaultdict[Hashable, list[int]](list)
    for number, key in enumerate(keys):
        groups[key].append(number)
    pools = defaultdict[Hashable, list[list[int]]](list)
    for members in groups.values():
        pools[classes[members[0]]].append(members)
    gone, owed = list[int](), 0.0
    for name in sorted(pools, key=str):
        pool = pools[name]
        order = noise.at("class", str(name)).generator().permutation(len(pool))
        due = share * sum(map(len, pool))
        if len(pool) > 1 and round(due) == 0:
            owed, due = (owed + due) % 1, owed + due  # 0 or 1 row: what is under one is owed by the next such class
            wanted = int(due)
        else:
            wanted = round(due)
        for place in order[:-1]:
            if wanted < len(pool[place]):
                break
            gone += pool[place]
            wanted -= len(pool[place])
    if not gone:
        largest = max(pools.values(), key=len, default=[])
        gone += largest[noise.at("one").integer() % len(largest)] if len(largest) > 1 else []
    aside = set(gone)
    return [n for n in range(len(keys)) if n not in aside], sorted(aside)
