"""How far the network's output is from the targets."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .network import Output

BOX_WEIGHT = 2.0


def loss(output: Output, heat: jax.Array, sides: jax.Array, mask: jax.Array) -> jax.Array:
    """Heat-map loss per centre + 2 * mean(1 - GIoU) over the cells from which boxes are learned; a scalar.

    Args:
        output: of the network.
        heat: see `Targets`, stacked: [batch, rows, columns, classes].
        sides: [batch, rows, columns, 4].
        mask: [batch, rows, columns].
    """
    cells = jnp.maximum(jnp.sum(mask), 1)
    boxes = jnp.sum(jnp.where(mask, 1.0 - giou(output.sides, sides), 0.0)) / cells
    return focal(output.heat, heat) + BOX_WEIGHT * boxes


def focal(logits: jax.Array, heat: jax.Array) -> jax.Array:
    """Penalty-reduced focal loss, divided by the number of centres (Law and Deng, "CornerNet", 2018, alpha 2, beta 4).

    With p = sigmoid(logits): -(1 - p)^2 log p where heat is 1, -(1 - heat)^4 p^2 log(1 - p) elsewhere. Cells near a
    centre are punished less for a high p, because a box found from them is nearly as good.
    """
    centre = heat == 1.0
    p = jax.nn.sigmoid(logits)
    positive = jnp.square(1.0 - p) * jax.nn.log_sigmoid(logits)
    negative = (1.0 - heat) ** 4 * jnp.square(p) * jax.nn.log_sigmoid(-logits)
    return -jnp.sum(jnp.where(centre, positive, negative)) / jnp.maximum(jnp.sum(centre), 1)


def giou(ours: jax.Array, wanted: jax.Array) -> jax.Array:
    """Generalised intersection over union of boxes around one point (Rezatofighi et al., 2019), -1 to 1.

    Args:
        ours: [..., 4] distances to the left, upper, right and lower side.
        wanted: [..., 4] likewise.

    Returns:
        [...] IoU - (hull - union) / hull. Where both boxes are empty: 0.
    """
    tiny = 1e-7
    inner = jnp.maximum(jnp.minimum(ours[..., :2], wanted[..., :2]) + jnp.minimum(ours[..., 2:], wanted[..., 2:]), 0.0)
    outer = jnp.maximum(ours[..., :2], wanted[..., :2]) + jnp.maximum(ours[..., 2:], wanted[..., 2:])
    common = inner[..., 0] * inner[..., 1]
    hull = outer[..., 0] * outer[..., 1]
    union = _area(ours) + _area(wanted) - common
    return common / jnp.maximum(union, tiny) - (hull - union) / jnp.maximum(hull, tiny)


def _area(sides: jax.Array) -> jax.Array:
    return (sides[..., 0] + sides[..., 2]) * (sides[..., 1] + sides[..., 3])
