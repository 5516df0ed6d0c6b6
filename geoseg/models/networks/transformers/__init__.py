"""Take vision transformers as encoders."""
