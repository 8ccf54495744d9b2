"""What the program finds on the machine it runs on, without MLX where that can be."""
