"""What every layer stands on: specs, tensor types, costs, the runtime."""
