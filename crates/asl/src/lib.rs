//! Amazon States Language: definitions, diagnostics, paths, intrinsics and the pure step function
