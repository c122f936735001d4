"""Take recorded music apart into its instruments, by blending separators."""
