"""An allocation for `dlrt.compress`: the next rank goes where it helps most."""

import heapq

from dlrt.compression import OutOfBudget, register_allocation


@register_allocation("greedy")
def allocate_greedily(tables, limit, context=None):
    """Takes the step that lowers a squared error most for its cost, again and again.

    Args:
        tables: The choices of each layer, the cheapest first.
        limit: What the choices of all layers may cost together.
        context: The model and the data, which are not looked at.

    Returns:
        The index of a choice for each layer.

    Raises:
        dlrt.compression.OutOfBudget: If the cheapest choices cost more.
    """
    chosen = [0] * len(tables)
    left = limit - sum(table.costs[0] for table in tables)
    if left < 0:
        raise OutOfBudget(int(limit - left))
    steps = [_step(table, i, 0) for i, table in enumerate(tables)]
    heap = [step for step in steps if step]
    heapq.heapify(heap)
    while heap:
        _, i, cost = heapq.heappop(heap)
        if cost <= left:
            left -= cost
            chosen[i] += 1
            step = _step(tables[i], i, chosen[i])
            if step:
                heapq.heappush(heap, step)
    return chosen


def _step(table, i, row):
    """The step from a row to the next: minus its gain for its cost, layer, cost."""
    if row + 1 == len(table.costs):
        return None
    cost = table.costs[row + 1] - table.costs[row]
    gain = table.errors[row] ** 2 - table.errors[row + 1] ** 2
    return -gain / cost, i, cost
