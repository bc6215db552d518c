"""The weights estimator in memory linear in the rows.

    loss.py             the mathematics; `blockwise_losses` chooses among the forms below
    one_tile.py         the passes of one set of few rows, whose similarities are one tile
    two_sets.py         the passes of anchors that are other rows than the candidates
    sharded.py          the passes of the rows of one device, with the candidates of all
    sets.py             what the passes of one set and of two have in common
    vjp.py              what a forward pass leaves to the backward pass, and rows in whole tiles
    negatives.py        sums over negatives, forward
    gradients.py        the gradient of the negatives, backward
    positives.py        both passes of the positives, in a band of tiles
    runs.py             the same where all similarities are at hand
    hyperparameters.py  the gradient with respect to temperature, beta and the like
    pallas/             the passes over negatives as TPU kernels
    counting.py         how many negatives anchors have
    exchange.py         how candidates come to the anchors of a device
    tiles.py            rows cut into blocks, and loops over pairs of blocks
    block.py            a block of rows, and which pairs of a tile are what
    options.py          what is fixed when a loss is traced

From a call to the innermost step, for one batch of more than `one_tile.ONE_TILE` rows::

    hcl_jax.hscl -> hcl_jax.dispatch.batch_losses
      -> hcl_jax.losses.contrastive.weights_estimator -> loss.blockwise_losses
      -> hcl_jax.losses._derivatives.differentiable, which calls the three passes of its `Passes`:
         loss._one_set_forward  -> sets.softmax_statistics_of_one_set -> negatives.symmetric_sums
                                   -> tiles.fold -> its step: one tile of similarities
                                -> sets.with_positives -> positives.positive_sums
         loss._one_set_backward -> gradients.vjp_symmetric -> tiles.fold -> its step
                                -> positives.vjp_positives
         loss._one_set_hyperparameters -> sets.hyperparameters_of_sets
                                -> hyperparameters.hyperparameter_gradients
"""
