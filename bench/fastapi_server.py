# SPDX-License-Identifier: Apache-2.0
"""The peer, a plain server: ``python -m bench.fastapi_server MODEL PORT``."""

import sys
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

DTYPES = {"FP32": np.float32, "INT32": np.int32, "INT64": np.int64}
NAMES = {np.dtype(dtype).name: name for name, dtype in DTYPES.items()}


class Tensor(BaseModel):
    name: str
    datatype: str
    shape: list[int]
    data: list[float] | list[int]


class Request(BaseModel):
    inputs: list[Tensor]


def application(model: str) -> FastAPI:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    app = FastAPI()

    @app.post("/infer")
    def infer(request: Request) -> dict[str, Any]:
        inputs = {
            each.name: np.array(each.data, DTYPES[each.datatype]).reshape(each.shape)
            for each in request.inputs
        }
        outputs = zip(names, session.run(None, inputs), strict=True)
        return {
            "outputs": [
                {
                    "name": name,
                    "datatype": NAMES[array.dtype.name],
                    "shape": array.shape,
                    "data": array.reshape(-1).tolist(),
                }
                for name, array in outputs
            ]
        }

    return app


if __name__ == "__main__":
    uvicorn.run(application(sys.argv[1]), port=int(sys.argv[2]), log_level="warning")
