"""Ways to see what a model does: tables and pictures from translations; it knows nothing of training."""
