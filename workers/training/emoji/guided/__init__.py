"""What the bundled model needs to be guided by a picture: an image encoder, a T2I-Adapter and an IP-Adapter."""
