// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtn} from "../../src/interfaces/IDtn.sol";
import {FussyToken} from "../kit/FussyToken.sol";

/// @notice An owner that is a contract, and the target of callbacks. Whatever reaches it (a callback, ETH, tokens), it
/// does what its mood of the day is, mostly something that it should not.
contract Chameleon {
    enum Mood {
        AGREE,
        SCHEME,
        REVERT,
        BURN,
        BOMB,
        GIVE_BACK
    }

    IDtn private immutable AI;
    FussyToken private immutable TOKEN;

    Mood public onCallback;
    Mood public onEther;
    Mood public onPay;
    bytes[] private scheme;
    /// Calls of the scheme that succeeded: in callbacks, and while money moved, which must be none.
    uint256 public entered;
    uint256 public broke;
    /// How often it gave back half of what it was just paid: that counts as refused, and can be claimed.
    uint256 public gaveBack;

    constructor(IDtn ai, FussyToken token) {
        (AI, TOKEN) = (ai, token);
        token.approve(address(ai), type(uint256).max);
    }

    function setMoods(Mood callback, Mood ether_, Mood pay) external {
        (onCallback, onEther, onPay) = (callback, ether_, pay);
    }

    function setScheme(bytes[] calldata calls) external {
        delete scheme;
        for (uint256 i = 0; i < calls.length; i++) {
            scheme.push(calls[i]);
        }
    }

    function onSuccess(bytes32) external {
        _act(onCallback);
    }

    function onFailure(bytes32) external {
        _act(onCallback);
    }

    function onTokens(uint256 amount) external {
        if (onPay == Mood.GIVE_BACK) {
            gaveBack++;
            TOKEN.transfer(address(AI), (amount + 1) / 2);
        } else if (onPay == Mood.SCHEME) {
            // In a callback of ours, money may come because we asked for it there; the lock is what it was then.
            broke += _try();
        } else {
            _act(onPay);
        }
    }

    receive() external payable {
        if (onEther == Mood.SCHEME && scheme.length > 0) {
            (bool done,) = address(AI).call(scheme[0]);
            if (done) broke++;
        } else {
            _act(onEther);
        }
    }

    function _act(Mood mood) private {
        if (mood == Mood.SCHEME) entered += _try();
        if (mood == Mood.REVERT) revert("no");
        if (mood == Mood.BURN) while (true) {}
        if (mood == Mood.BOMB) {
            assembly {
                revert(0, 200000)
            }
        }
    }

    function _try() private returns (uint256 successes) {
        for (uint256 i = 0; i < scheme.length; i++) {
            (bool done,) = address(AI).call(scheme[i]);
            if (done) successes++;
        }
    }
}
