"""Training, evaluation and the losses they share."""
