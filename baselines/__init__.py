"""The methods GRUN is compared with: any objective under full fine-tuning or LoRA, and two controls
that train no language model."""
