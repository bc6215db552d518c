"""Keras 3 on JAX: the loss in `compile`, everything else as ever."""

import os

os.environ["KERAS_BACKEND"] = "jax"

import jax.numpy as jnp
import keras
import numpy as np

import hcl_jax
from hcl_jax import data, evaluation
from hcl_jax.normalization import unit_sphere


def hscl(labels, projections):
    """HSCL of a batch; Keras hands labels over as floats, in a column."""
    labels = jnp.asarray(labels, jnp.int32).reshape(-1)
    return hcl_jax.hscl(unit_sphere(projections), labels, beta=5.0, temperature=0.5)


def main(epochs: int = 40, batch_size: int = 256) -> float:
    """Trains on a part of the digits, and returns the accuracy of 20 nearest neighbours."""
    keras.utils.set_random_seed(0)
    digits = data.digits()
    train, test = (np.asarray(part.images).reshape(-1, 64) for part in (digits.train, digits.test))
    labels = np.asarray(digits.train.labels)
    model = keras.Sequential([keras.layers.Dense(128, activation="relu"), keras.layers.Dense(9)])
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss=hscl)
    whole = len(train) // batch_size * batch_size  # one shape, so one compiled step
    history = model.fit(train[:whole], labels[:whole], batch_size, epochs, verbose=0)
    print(f"loss {history.history['loss'][-1]:.4f}")

    embeddings = [unit_sphere(jnp.asarray(model.predict(x, verbose=0))) for x in (train, test)]
    accuracy = evaluation.knn_accuracy(
        embeddings[0], digits.train.labels, embeddings[1], digits.test.labels
    )
    print(f"accuracy of 20 nearest neighbours {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
