"""How nodes in Docker reach the caches: the network, its gateway and the firewall."""
