"""Archives behind one door; ``local.py`` is the embedded archive's public interface."""
