"""Fine-tuning on the user's own repository: `files.py` splits and cuts it, `session.py` trains and measures.

result = finetuning.finetune(lm, finetuning.read("my_repository"), finetuning.Settings())
lm.save_lora_weights("adapter.safetensors")
"""

from keras_codegemma.finetuning.files import Repository, read
from keras_codegemma.finetuning.session import Measured, Result, Settings, finetune

__all__ = ["Measured", "Repository", "Result", "Settings", "finetune", "read"]
