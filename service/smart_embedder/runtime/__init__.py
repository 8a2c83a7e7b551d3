"""How a forward pass is run fast: devices, packing, quantisation."""
