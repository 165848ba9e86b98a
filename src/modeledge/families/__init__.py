"""Model folders: stand-in until the real page lands."""
from pathlib import Path
import dataclasses
from modeledge import files
from modeledge.model.config import as_plain, from_plain
from modeledge.model.heads import LMHead, ClassHead, ValueHead
from modeledge.model.transformer import Transformer
from modeledge.seed import Noise
from safetensors.torch import load_file, save_file
def save_model(model, folder, *, family=None):
    folder=Path(folder); folder.mkdir(parents=True,exist_ok=True)
    save_file({k:v.detach().contiguous() for k,v in model.state_dict().items()}, folder/'model.safetensors')
    heads={}
    for n,h in model.heads.items():
        if n=='lm': heads[n]={'kind':'lm','transform':h.dense is not None,'bias':h.bias is not None,'tie':h.weight is None}
        elif n=='class': heads[n]={'kind':'class','outputs':h.output.weight.shape[0],'pool':h.pool,'hidden':h.dense is not None}
        else: heads[n]={'kind':'value','pool':h.pool,'hidden':h.dense is not None}
    files.write_json(folder/'config.json',{'model_type':'modeledge','model':as_plain(model.config),'heads':heads})
def load_model(folder):
    c=files.read_json(Path(folder)/'config.json'); m=Transformer(from_plain(c['model']))
    K={'lm':LMHead,'class':ClassHead,'value':ValueHead}
    m.add_heads({n:K[h.pop('kind')](**h) for n,h in c['heads'].items()},Noise(0))
    m.load_state_dict(load_file(Path(folder)/'model.safetensors')); return m
