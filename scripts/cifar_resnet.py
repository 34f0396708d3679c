"""The residual networks of section 4.2 of He et al. 2015 (CIFAR-10), with torchvision's parameter names.

A 3x3 stem of 16 channels with no pool, three stages of basic blocks of 16, 32 and 64 channels, 1x1 convolution + norm
where the shape changes (the paper's option B), global pooling and one linear layer.
"""

import torch.nn as nn
from torchvision.models.resnet import BasicBlock, conv1x1


class CifarResNet(nn.Module):
    def __init__(self, blocks_per_stage=3, num_classes=10, in_channels=3):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = self._stage(16, 16, blocks_per_stage, 1)
        self.layer2 = self._stage(16, 32, blocks_per_stage, 2)
        self.layer3 = self._stage(32, 64, blocks_per_stage, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)

    @staticmethod
    def _stage(channels, width, blocks, stride):
        layers = []
        for index in range(blocks):
            shortcut = None
            if index == 0 and (stride != 1 or channels != width):
                shortcut = nn.Sequential(conv1x1(channels, width, stride), nn.BatchNorm2d(width))
            layers.append(BasicBlock(channels, width, stride if index == 0 else 1, shortcut))
            channels = width
        return nn.Sequential(*layers)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


def resnet20(num_classes=10, in_channels=1):
    return CifarResNet(3, num_classes, in_channels)
