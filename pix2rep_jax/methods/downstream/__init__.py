"""Probing, fine-tuning and Mean Teacher: the losses of a segmenter."""
