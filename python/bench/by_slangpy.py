"""The way through slangpy's public interface: slangpy has its own Vulkan device, which shares buffers with CUDA."""

import numpy as np
import slangpy
import torch
from ways import FRAMES

SLANG = """
ByteAddressBuffer frame;
RWByteAddressBuffer picture;
uniform uint2 size;
uniform bool halves;

float4 texel(uint index)
{
    if (!halves) {
        uint word = frame.Load(4 * index);
        return float4(word & 255, (word >> 8) & 255, (word >> 16) & 255, word >> 24) / 255.0;
    }
    uint2 words = frame.Load2(8 * index);
    return float4(f16tof32(words.x), f16tof32(words.x >> 16), f16tof32(words.y), f16tof32(words.y >> 16));
}

[shader("compute")]
[numthreads(8, 8, 1)]
void draw(uint2 place: SV_DispatchThreadID)
{
    if (any(place >= size))
        return;
    uint index = place.y * size.x + place.x;
    uint4 bytes = uint4(saturate(texel(index)) * 255.0 + 0.5);
    picture.Store(4 * index, bytes.x | (bytes.y << 8) | (bytes.z << 16) | (bytes.w << 24));
}
"""


class BySlangpy:
    """A copy on the GPU into a buffer that slangpy's Vulkan device shares with CUDA, and a shader equivalent to the view's shader."""

    def __init__(self, case, stack):
        self.case, self.copied = case, case.nbytes
        torch.cuda.synchronize()
        self.device = slangpy.Device(
            type=slangpy.DeviceType.vulkan, enable_cuda_interop=True, enable_rhi_validation=False, enable_hot_reload=False,
            existing_device_handles=slangpy.get_cuda_current_context_native_handles())
        stack.callback(self.close)
        if not self.device.supports_cuda_interop:
            raise RuntimeError("its Vulkan device shares no memory with CUDA")
        module = self.device.load_module_from_source("frames", SLANG)
        program = self.device.link_program([module], [module.entry_point("draw")])
        self.kernel = self.device.create_compute_kernel(program)
        usage = slangpy.BufferUsage
        make, shared = self.device.create_buffer, usage.shared | usage.shader_resource
        self.slots = [make(size=case.nbytes, usage=shared) for _ in range(FRAMES)]
        self.targets = [slot.to_torch(slangpy.DataType.uint8, [case.nbytes]) for slot in self.slots]
        self.sources = [frame.view(torch.uint8).flatten() for frame in case.frames]
        self.drawn = make(size=4 * case.width * case.height, usage=usage.unordered_access)
        self.size = slangpy.uint2(case.width, case.height)

    def frame(self, index):
        slot, stream = index % FRAMES, self.case.stream().cuda_stream
        # CUDA waits for Vulkan's last use of the buffer, and Vulkan waits for the copy.
        self.device.sync_to_device(stream)
        self.targets[slot].copy_(self.sources[slot])
        self.device.sync_to_cuda(stream)
        given = {"frame": self.slots[slot], "picture": self.drawn, "size": self.size, "halves": self.case.dtype == "float16"}
        self.kernel.dispatch([self.case.width, self.case.height, 1], vars=given)

    def finish(self):
        self.device.wait_for_idle()

    def close(self):
        self.device.wait_for_idle()
        device = self.device
        # The buffers must be freed before the device.
        self.__dict__.clear()
        device.close()

    def picture(self):
        return self.drawn.to_numpy().view(np.uint8).reshape(self.case.shape)
