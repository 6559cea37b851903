"""How exact the products of a CUDA trainer are."""

#: "float32": float32 accuracy everywhere; "tf32": single TF32 products in convolutions and dense layers.
PRECISIONS = ("float32", "tf32")
