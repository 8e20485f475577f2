"""A trained model for transformers and for CTranslate2, with its card."""
