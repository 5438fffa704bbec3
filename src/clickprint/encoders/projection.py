"""Principal components: the axes along which vectors differ most."""

import numpy as np
from jaxtyping import Float64


def principal_axes(
    covariance: Float64[np.ndarray, "W W"], width: int
) -> Float64[np.ndarray, "W R"]:
    """The first `width` axes, a column each, the one of the largest variance first.

    An axis points to where its largest part is positive, so that its sign does not depend on the
    library that finds it.
    """
    axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :width]
    sign = np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    return axes * np.where(sign == 0, 1, sign)
