@vertex fn main() -> @builtin(position) vec4f { return vec4f(0.0); }
