"""`tpdeploy explain`: how tensor parallelism splits a layer, drawn."""

from pathlib import Path
from typing import Annotated

import typer

from tpdeploy.cli.options import common as options
from tpdeploy.cli.output import out, print_json
from tpdeploy.cli.report.write import check_picture, write_layer
from tpdeploy.planner.model.layer_split import Block, LayerSplit
from tpdeploy.planner.model.layer_split import explain as split_layer
from tpdeploy.profiles.models.library import load_model

app = typer.Typer(add_completion=False, rich_markup_mode=None)

BOX_WIDTH = 76


@app.command()
def explain(
    model: Annotated[str, typer.Argument(help="Alias, local folder or hub id, e.g. llama-70b.")],
    tp: Annotated[int, typer.Option(help="Tensor-parallel width.")],
    *,
    tokens: Annotated[int, typer.Option(help="Tokens in the step.")] = 1,
    dtype: Annotated[str, typer.Option(help="auto, bf16, fp16 or fp32.")] = "auto",
    svg: Annotated[Path | None, typer.Option(help="Draw it into this .svg file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show which columns and rows each GPU holds and what the all-reduces carry."""
    options.devices("--tp", tp)
    options.tokens("--tokens", tokens)
    check_picture("--svg", svg, (".svg",))
    shape = load_model(model)
    chosen = options.dtype(dtype)
    if chosen:
        shape = shape.changed(dtype=chosen)
    split = split_layer(shape, tp, tokens)
    if svg:
        write_layer(svg, split)
    if json:
        print_json(split)
    else:
        out.print("\n".join(draw(split)), soft_wrap=True)


def draw(split: LayerSplit) -> list[str]:
    """The layer as lines of text, at most 80 columns wide."""
    lines = [
        f"{split.model} at TP {split.tensor}: one of {split.layers} layers, "
        f"{split.tokens:,} token{'s' if split.tokens > 1 else ''}, {split.dtype}",
        "",
        f"  x: {split.tokens:,} x {split.hidden:,}, the same on every GPU",
    ]
    for number, block in enumerate(split.blocks, start=1):
        lines += ["  |", "  +- norm, replicated", "  v", *_box(block, split.tensor)]
        if split.parallel_blocks and number < len(split.blocks):
            lines.append("  + added to what the next block makes of the same x")
            continue
        if split.tensor > 1:
            size = f"{split.tokens:,} x {split.hidden:,} x {split.dtype.bits // 8}"
            lines.append(
                f"  ==== all-reduce over {split.tensor} GPUs: {size} = "
                f"{split.all_reduce_bytes:,} bytes ===="
            )
        lines.append("  + x (residual)")
    return [*lines, "", *_summary(split)]


def _box(block: Block, tensor: int) -> list[str]:
    gpus = f"GPU 0 to {tensor - 1}, each" if tensor > 1 else "the one GPU"
    content = [
        f"{block.column_parallel}: columns {block.columns_per_gpu:,} of {block.column_outputs:,}"
        "  (column-parallel)",
        block.middle,
        f"{block.row_parallel}: rows {block.rows_per_gpu:,} of {block.row_inputs:,}"
        "  (row-parallel: partial sums)",
    ]
    title = f"- {block.name}: {gpus} "
    inner = BOX_WIDTH - 4
    return [
        f"  +{title:-<{BOX_WIDTH - 2}}+",
        *(f"  | {line:<{inner}} |" for line in content),
        f"  +{'-' * (BOX_WIDTH - 2)}+",
    ]


def _summary(split: LayerSplit) -> list[str]:
    lines = [
        f"A hidden-wide output: {split.hidden_columns_per_gpu:,} of {split.hidden:,} columns a "
        f"GPU, {split.local_output_bytes:,} bytes.",
    ]
    if split.tensor == 1:
        return [*lines, "One GPU holds everything: no all-reduce."]
    total = split.all_reduces_per_step * split.all_reduce_bytes
    lines.append(
        f"A step: {split.all_reduces_per_step} all-reduces of {split.all_reduce_bytes:,} bytes, "
        f"{total:,} bytes in all;"
    )
    if split.norm_all_reduces_per_step:
        lines.append(
            f"{split.norm_all_reduces_per_step} of {split.norm_all_reduce_bytes:,} bytes, since "
            "norms of Q and K span all heads;"
        )
    return [
        *lines,
        f"one all-gather of the logits, {split.logits_bytes:,} bytes per sampled token.",
    ]
