// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Lists} from "../../src/session-manager/Lists.sol";
import {Test} from "../kit/Test.sol";

/// @notice A list is, after any moves, the array that the same moves make.
contract ListsTest is Test {
    using Lists for Lists.List;

    Lists.List private list;
    uint256[] private model;

    /// @dev Each move adds an id at one end, or takes it out if it is in.
    function testFuzz_IsTheArrayOfTheSameMoves(uint8[] calldata moves) external {
        for (uint256 i = 0; i < moves.length; i++) {
            uint256 id = 1 + moves[i] % 8;
            if (list.contains(id)) {
                list.remove(id);
                modelRemove(id);
            } else if (moves[i] < 128) {
                list.pushLast(id);
                model.push(id);
            } else {
                list.pushFirst(id);
                modelPushFirst(id);
            }
            assertSame();
        }
    }

    function assertSame() private view {
        uint256 id = list.first();
        for (uint256 i = 0; i < model.length; i++) {
            vm.assertEq(id, model[i]);
            vm.assertTrue(list.contains(id));
            id = list.next(id);
        }
        vm.assertEq(id, 0);
        vm.assertEq(list.last(), model.length == 0 ? 0 : model[model.length - 1]);
    }

    function modelPushFirst(uint256 id) private {
        model.push(id);
        for (uint256 i = model.length - 1; i > 0; i--) {
            (model[i], model[i - 1]) = (model[i - 1], model[i]);
        }
    }

    function modelRemove(uint256 id) private {
        uint256 found;
        while (model[found] != id) found++;
        for (; found + 1 < model.length; found++) {
            model[found] = model[found + 1];
        }
        model.pop();
    }
}
