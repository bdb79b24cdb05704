//! AstroMAE: configuration from the weights, packed weights and the forward pass
