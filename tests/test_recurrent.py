"""The recurrent decoders against loops written from the papers, sentence by sentence and word by word."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nmt.batches import BOS, EOS, Padded
from nmt.config import RecurrentConfig
from nmt.models.recurrent import Recurrent
from nmt.models.weights import Vocabularies

EMBEDDING, DIM, VOCAB = 4, 6, 9
SOURCE = Padded(torch.tensor([[4, 5, 6, 7, EOS]]), torch.tensor([5]))
TARGET = torch.tensor([[BOS, 5, 8, 4]])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(2)


def fresh(**options: Any) -> Recurrent:
    config = RecurrentConfig(embedding=EMBEDDING, dim=DIM, **options)
    model = Recurrent(config, Vocabularies(VOCAB, VOCAB, is_shared=True)).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


class Paper:
    """The parts of a model that the papers' equations name, for one sentence."""

    def __init__(self, model: Recurrent) -> None:
        self.weights: dict[str, Tensor] = model.state_dict()
        encoded = model.encoder(model.embeddings.source(SOURCE.ids), SOURCE.lengths)
        self.annotations: Tensor = encoded.outputs[0]  # h_1 .. h_n, (source, dim)
        self.words = model.embeddings.target(TARGET[0])  # (time, embedding)
        cells = {"gru": nn.GRUCell, "lstm": nn.LSTMCell}
        bottom = model.decoder.stack.layers[0].get_submodule("weights").state_dict()
        width = bottom["weight_ih_l0"].shape[1]
        self.cell = cells[model.config.cell](width, DIM).double()
        self.cell.load_state_dict({name.removesuffix("_l0"): tensor for name, tensor in bottom.items()})

    def linear(self, name: str, *inputs: Tensor) -> Tensor:
        bias = self.weights.get(f"{name}.bias", torch.zeros(()))
        return self.weights[f"{name}.weight"] @ torch.cat(inputs) + bias

    def initial(self, *inputs: Tensor) -> Tensor:
        return self.linear("initial", *inputs).tanh()

    def align(self, query: Tensor) -> Tensor:
        """Return the context: the annotations weighted by Bahdanau's score (A.1.2) or Luong's (equation 8)."""
        if "decoder.attention.query.weight" in self.weights:
            hidden = [
                (self.linear("decoder.attention.query", query) + self.linear("decoder.attention.project", key)).tanh()
                for key in self.annotations
            ]
            scores = torch.stack([self.linear("decoder.attention.weigh", each)[0] for each in hidden])
        else:
            scores = torch.stack([query @ self.linear("decoder.attention.project", key) for key in self.annotations])
        weights = scores.exp() / scores.exp().sum()
        return weights @ self.annotations

    def logits(self, features: list[Tensor]) -> Tensor:
        return torch.stack([self.linear("embeddings.output", each) for each in features])


def test_bahdanaus_decoder_is_the_papers() -> None:
    """s_0 = tanh(W h_1 backwards); c_i asks with s_{i-1}; s_i = f(s_{i-1}, y_{i-1}, c_i); deep output of all three."""
    model = fresh(cell="gru", attention="additive")
    paper, features = Paper(model), []
    state = paper.initial(paper.annotations[0, DIM // 2 :])
    for word in paper.words:
        context = paper.align(state)
        state = paper.cell(torch.cat((word, context)), state)
        features.append(paper.linear("decoder.readout.project", state, word, context).tanh())
    torch.testing.assert_close(model(SOURCE, TARGET)[0], paper.logits(features), rtol=0, atol=1e-10)


@pytest.mark.parametrize("is_feeding", [False, True])
def test_luongs_decoder_is_the_papers(is_feeding: bool) -> None:
    """h_t = f(h_{t-1}, y_{t-1} [, h~_{t-1}]); c_t asks with h_t; h~_t = tanh(W [c_t; h_t])."""
    model = fresh(cell="lstm", attention="general", input_feeding=is_feeding)
    paper, features = Paper(model), []
    both_ends = (paper.annotations[-1, : DIM // 2], paper.annotations[0, DIM // 2 :])
    hidden, cell = paper.initial(*both_ends).chunk(2)
    fed = torch.zeros(DIM, dtype=torch.float64)
    for word in paper.words:
        hidden, cell = paper.cell(torch.cat((word, fed)) if is_feeding else word, (hidden, cell))
        fed = paper.linear("decoder.combine", paper.align(hidden), hidden).tanh()
        features.append(paper.linear("decoder.narrow", fed))
    torch.testing.assert_close(model(SOURCE, TARGET)[0], paper.logits(features), rtol=0, atol=1e-10)


def test_decoder_without_attention_is_the_papers() -> None:
    """1406.1078 section 2.2: the vector c of the source enters every step and every output."""
    model = fresh(cell="gru", attention="none")
    paper, features = Paper(model), []
    vector = torch.cat((paper.annotations[-1, : DIM // 2], paper.annotations[0, DIM // 2 :]))
    state = paper.initial(vector)
    for word in paper.words:
        state = paper.cell(torch.cat((word, vector)), state)
        features.append(paper.linear("decoder.readout.project", state, word, vector).tanh())
    torch.testing.assert_close(model(SOURCE, TARGET)[0], paper.logits(features), rtol=0, atol=1e-10)


@pytest.mark.parametrize("attention", ["none", "dot", "general", "concat"])
def test_whole_targets_run_in_one_call_per_layer(attention: str) -> None:
    """Without anything fed back, teacher forcing reaches the fused layers once, not once per word."""
    model = fresh(cell="gru", attention=attention, decoder_layers=2)
    calls: list[int] = []
    for layer in model.decoder.stack.layers:
        layer.register_forward_hook(lambda module, inputs, output: calls.append(output.shape[1]))
    model(SOURCE, TARGET)
    assert calls == [TARGET.shape[1]] * 2
