"""An original clip and its manipulated copies: aligned, sampled, turned into examples."""
