"""Arrays of one's own in one call, with an encoder in Flax NNX, measured every ten epochs."""

import jax
import optax
from flax import nnx

from hcl_jax import data, geometry, networks, training


def network(rngs: nnx.Rngs) -> networks.Network:
    """An encoder 64 -> 128 and a head 128 -> 9."""
    encoder = nnx.Sequential(nnx.Linear(64, 128, rngs=rngs), nnx.relu)
    return networks.Network(encoder, nnx.Linear(128, 9, rngs=rngs))


def main(epochs: int = 40) -> int:
    """Trains, and returns how many of 9 directions the class means use."""
    images, labels = data.digits().train  # any arrays: images or vectors, and their classes
    images = images.reshape(-1, 64)
    model = networks.pure(network, image_shape=(64,))
    program = training.Program(model, optax.adam(3e-3), batch_size=256)
    objective = training.traced_objective(supervised=True, beta=5.0)

    def directions(state: training.TrainState) -> int:
        _, embeddings = training.embed(state.variables, images, program)
        return int(geometry.measure(embeddings, labels, num_classes=10).directions)

    def show(epoch: int, state: training.TrainState, infos: training.StepInfo) -> None:
        if epoch % 10 == 0:
            loss = infos.loss.mean()
            print(f"epoch {epoch}: loss {loss:.4f}, {directions(state)} of 9 directions")

    fitted = training.fit(
        jax.random.key(0), images, labels, objective, program, epochs=epochs, after_epoch=show
    )
    return directions(fitted.state)


if __name__ == "__main__":
    main()
