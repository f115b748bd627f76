"""YAML in, typed documents out: safe loader with line and column, quantities, inputs, JSON Schema."""
